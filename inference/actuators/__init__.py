"""What a fired decision drives: one file per kind, behind one protocol. An actuator is born disarmed."""
