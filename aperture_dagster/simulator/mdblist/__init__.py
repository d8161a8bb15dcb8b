"""A stand-in for MDBList."""

from aperture_dagster.simulator.mdblist.app import MdblistService

__all__ = ["MdblistService"]
