package store

// Break has every write fail, none where it is nil.
func (j *Journal) Break(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fault = err
}
