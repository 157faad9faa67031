"""HMS-SVC: the sidecar that makes approved patches real beside each served process."""
