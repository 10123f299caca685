"""The graded assignments: questions, right answers, known mistakes, rubrics. A student's code never
sees this folder: the sandbox shows it empty.
"""
