"""What one event costs a deployed function: processor time and memory, beside what a plain program would take."""
