package resolve

// Absent is how many IDs are known not to be there.
func (c *Containerd) Absent() int { return c.absent.Len() }
