package exit

// ask begins a call of a client that is subscribed.
func (w *world) ask(r rules, i int, kind Call) bool {
	if w.calls[i].by != 0 || !w.up || !w.subscribed || !w.connected() || w.made >= r.each {
		return false
	}
	if kind == DeleteCall && !r.deletes || !r.waited && w.life > 1 && w.exits == 0 {
		return false
	}
	w.made++
	if !w.s.Finds(w.life) {
		require(w.deletes, "a container is not found by an instance that has not deleted it")
		return true
	}
	w.calls[i] = call{by: w.life, kind: kind}
	w.deletes = w.deletes || kind == DeleteCall
	if w.s.Asked(w.life) {
		w.withdraw()
	}
	return true
}

// answer lets the State answer a call. Whose instance has died gets nothing.
func (w *world) answer(r rules, i int) bool {
	c := &w.calls[i]
	switch {
	case c.by == 0 || c.answered:
		return false
	case c.by != w.life || !w.up:
		w.calls[i] = call{}
		return true
	}
	recovers := r.waited && c.by > 1 && !w.recovered && w.s.deletion != Deleted
	reply := w.s.Answer(c.kind, c.by)
	switch reply {
	case Hold:
		return true
	case Running:
		require(c.kind == StateCall && (recovers || !w.s.exited), "an exit is denied")
		if w.s.exited {
			w.calls[i] = call{}
		}
		return w.s.exited
	}
	require(!recovers || c.kind != StateCall, "State shows an exit to an instance that recovers")
	if c.kind == DeleteCall && w.s.deletion != Deleted {
		return w.remove()
	}
	w.recovered = w.recovered || c.kind == WaitCall
	c.answered, c.excused, c.trueOnly = true, w.excuse(), w.s.trueOnly
	return true
}

// remove begins a removal, or joins the one under way.
func (w *world) remove() bool {
	if w.s.BeginDelete() {
		w.remover = w.life
	}
	return true
}

// removed ends a removal: its answer is for the instance that has asked for it.
func (w *world) removed(rules) bool {
	ok := w.remover != 0
	if ok {
		w.s.EndDelete(true, w.remover)
		w.remover = 0
	}
	return ok
}

// read is the moment in which the client sees the answer.
func (w *world) read(r rules, i int) bool {
	c := w.calls[i]
	if c.by == 0 || !c.answered {
		return false
	}
	if c.by == w.life && w.up {
		require(w.received > 0 || !w.end.oom() || c.excused, "an exit was seen without its TaskOOM")
		w.see(r, c.trueOnly)
	}
	w.calls[i] = call{}
	return true
}

// settled checks a world in which nothing happens by itself any more.
func (w *world) settled() {
	for _, c := range w.calls {
		require(c.by == 0 || !w.s.exited, "a call hangs")
	}
	if w.up && w.connected() && w.s.exitDue && !w.s.Starting(w.life) {
		require(w.s.exitAcked, "TaskExit hangs")
		require(w.s.deletion != Deleted || w.s.deleteSent, "TaskDelete hangs")
	}
	require(w.s.saved == w.s.Record(), "the checkpoint is out of date")
}
