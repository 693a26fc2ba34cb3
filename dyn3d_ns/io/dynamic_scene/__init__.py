"""Scenes of one monocular video each, with other views of the same moments to evaluate on."""
