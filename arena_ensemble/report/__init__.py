"""The ensemble as a person looks at it: tables for terminal and page, charts, and one HTML page.

Nothing is imported here: `tables` serves every verb, and `page` brings the stackers with it.
"""
