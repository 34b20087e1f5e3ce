"""Judging predictions of a campaign: written and committed before it is measured, compared afterwards, explained."""
