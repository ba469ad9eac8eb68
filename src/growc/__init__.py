"""growc"""
