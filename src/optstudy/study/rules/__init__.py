"""The rules of a study file: functions that yield the problems of one block, or of several together."""
