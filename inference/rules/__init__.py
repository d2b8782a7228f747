"""Rules turn behaviour into one decision per opportunity: fired, sham, or withheld and why. Pure: nothing acts here."""
