"""Compiled routines of the data plane: thin Cython over plain C in kernels/. Imports nothing of the appliance."""
