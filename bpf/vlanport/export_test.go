package vlanport

// ForceClsact makes the switch behave as on a kernel without TCX.
func (s *Switch) ForceClsact() { s.clsact = true }
