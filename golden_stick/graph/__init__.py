"""The traced network and what follows from it, in numpy alone: no MindSpore is needed."""
