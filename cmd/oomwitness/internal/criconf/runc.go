package criconf

// Runc returns the settings of the node's runc handler that ours takes over,
// nil where there is none or it is not really runc.
func (c Config) Runc() map[string]any {
	runc, _ := c.Runtime("runc")
	if kind, _ := runc["runtime_type"].(string); kind != "" && kind != runcType {
		return nil
	}
	return runc
}

// SystemdCgroup returns the value that the runc handler has. set is false where
// no file has a runc handler; a handler that does not mention it has
// containerd's default, false.
func (c Config) SystemdCgroup() (value, set bool) {
	runc := c.Runc()
	if runc == nil {
		return false, false
	}
	value, _ = table(runc, "options")["SystemdCgroup"].(bool)
	return value, true
}
