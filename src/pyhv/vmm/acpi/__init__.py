"""ACPI tables for the board, and the AML that they carry. Advanced Configuration and Power Interface 6.4."""
