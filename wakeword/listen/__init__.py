"""Live listening: sources of sound, the microphone among them, and the loop from sound to detections.

Nothing here imports torch, and PortAudio is loaded only once a microphone is asked for.
"""
