"""optstudy: which optimizer should I use on this task, tuned with the same budget, and how sure are we?"""
