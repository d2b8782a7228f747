"""A link that can be cut: passes bytes between pairs of ports until it is killed."""

import asyncio
import sys

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(listen: int, target: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()  # nobody is there yet: who asks comes again
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    await asyncio.start_server(connected, "127.0.0.1", listen)


async def main() -> None:
    for pair in sys.argv[1:]:
        listen, target = map(int, pair.split(":"))
        await serve(listen, target)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
