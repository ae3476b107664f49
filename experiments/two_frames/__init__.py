"""Do two key frames tell how fast things move?"""
