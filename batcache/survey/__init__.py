"""From predictions to what a survey reports."""
