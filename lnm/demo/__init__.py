"""What there is to try the method with: rendered scenes, real footage, and the recipe of lnm-mini."""
