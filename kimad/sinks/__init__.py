"""Where StepRecords go."""
