package criconf

// Runc returns the settings of the node's runc handler that our handler takes over, nil if
// there is no such handler or its type is not runc's.
func (c Config) Runc() map[string]any {
	runc, _ := c.Runtime("runc")
	if kind, _ := runc["runtime_type"].(string); kind != "" && kind != runcType {
		return nil
	}
	return runc
}

// SystemdCgroup returns the setting of the runc handler. set is false if no file has a runc
// handler. A handler without the setting has containerd's default, false.
func (c Config) SystemdCgroup() (value, set bool) {
	runc := c.Runc()
	if runc == nil {
		return false, false
	}
	value, _ = table(runc, "options")["SystemdCgroup"].(bool)
	return value, true
}
