package bpf

// As returns the options of a program of another ABI and version.
func (o Options) As(abi, version uint32) Options {
	o.abi, o.version = &abi, &version
	return o
}

// Quick returns the options of a load beside which there are no kills.
func (o Options) Quick() Options {
	o.noEvents = true
	return o
}

// Settled reports whether Whole costs one look at the ledger's folder.
func (l *Ledger) Settled() bool { return l.folder != folder{} }

// EachStep has f called between the steps of a load, with their names.
func EachStep(f func(name string)) { testStep = f }
