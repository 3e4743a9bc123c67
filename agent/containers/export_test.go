package containers

// Absent is how many IDs are known not to be there.
func (c *Client) Absent() int { return c.absent.Len() }
