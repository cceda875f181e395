"""The words that several cases share."""

WORDS = ("J", "LB", "TPSI", "V", "b", "no", "oCLrZaW", "poiVg")
