"""What does each depth loss add to SILog?"""
