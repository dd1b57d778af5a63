"""What the paper leaves open, tried both ways: arms that differ from a base arm in one choice each, and what is
measured of them in latents. `lnm.stages.ablation` trains and films them, `eval.records.ablations` compares them."""
