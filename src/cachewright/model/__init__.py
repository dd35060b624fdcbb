"""The nouns: frozen values, enums, tables and the error tree. No I/O, no clock."""
