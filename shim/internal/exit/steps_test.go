package exit

// A step is one of the things that can happen next. Those of the shim itself happen
// sooner or later by themselves: where none is left, nothing may hang.

// next calls emit with each world that one step leads to. It reports whether a step
// of the shim or of the ack of an event was among them.
func (w world) next(r rules, emit func(world)) (internal bool) {
	try := func(f func(*world) bool) bool {
		n := w
		if !f(&n) {
			return false
		}
		if n.s.visible && !w.s.visible && n.s.oom {
			require(n.expired || n.acked, "an OOM is released before its TaskOOM was acked")
		}
		if n = n.normal(r); n == w {
			return false
		}
		emit(n)
		return true
	}
	for _, f := range []func(*world, rules) bool{
		(*world).publishEarly, (*world).reap, (*world).decide, (*world).checkpoint, (*world).written,
		(*world).publishExit, (*world).hand, (*world).arrive, (*world).ack, (*world).removed,
	} {
		internal = try(func(n *world) bool { return f(n, r) }) || internal
	}
	for i := range r.calls {
		internal = try(func(n *world) bool { return n.answer(r, i) }) || internal
		internal = try(func(n *world) bool { return n.read(r, i) }) || internal
		for _, kind := range []Call{StateCall, WaitCall, DeleteCall} {
			try(func(n *world) bool { return n.ask(r, i, kind) })
		}
	}
	for e := clean; e <= initOOM; e++ {
		try(func(n *world) bool { return (r.live || e != survived) && n.choose(e) })
	}
	for _, f := range []func(*world, rules) bool{
		(*world).publishLive, (*world).subscribe, (*world).connect, (*world).die, (*world).back, (*world).timeout,
	} {
		try(func(n *world) bool { return f(n, r) })
	}
	for _, f := range timeouts {
		try(func(n *world) bool { return r.late && f(n, r) })
	}
	if r.dies {
		w.shimDies(r)
	}
	return internal
}

// choose has the kernel choose the end.
func (w *world) choose(e ending) bool {
	ok := w.end == open
	w.end, w.killed = e, e != clean
	return ok
}

func (w *world) publishEarly(rules) bool {
	ok := w.end == initOOM && !w.early
	w.early = true
	w.s.VictimNamed()
	return ok
}

func (w *world) publishLive(r rules) bool {
	ok := r.live && w.killed && !w.lives
	w.lives = true
	w.s.KillSeen(1)
	return ok
}

func (w *world) reap(r rules) bool {
	ok := w.end != open && w.s.Exited()
	if ok && !r.disk { // in one step
		w.publishExit(r)
	}
	return ok
}

func (w *world) decide(rules) bool {
	ok := w.s.exited && !w.s.decided
	if ok {
		w.s.Decided(w.end.oom(), uint64(b2i(w.killed)), w.known())
	}
	return ok
}

func (w *world) checkpoint(r rules) bool {
	ok := !w.busy && w.s.Stale()
	w.busy, w.writing = true, w.s.Record()
	if ok && !r.disk { // in one step
		w.written(r)
	}
	return ok
}

func (w *world) written(rules) bool {
	ok := w.busy
	w.disk = w.writing
	w.s.Checkpointed(w.writing)
	w.busy, w.writing = false, Record{}
	return ok
}

func (w *world) publishExit(rules) bool {
	ok := w.s.exited && !w.s.exitDue
	w.s.ExitPublished()
	return ok
}

// hand has the State hand an event to delivery.
func (w *world) hand(r rules) bool {
	e := w.s.Next(w.known())
	w.excused = w.excuse() || !w.s.subscribed // then its start time has passed
	if e == TaskOOM {
		require(w.end.oom() || r.live, "TaskOOM for a container that was not OOM-killed")
		require(!w.s.exitAcked || w.s.delivered != w.life, "TaskOOM after TaskExit to an instance that has it")
	}
	return e != NoEvent
}

// arrive is the moment in which containerd gets the event under way. The endpoint
// listens when all plugins are initialized, and so after the Connect (containerd 2.4,
// cmd/containerd/command/main.go).
func (w *world) arrive(r rules) bool {
	if w.s.inFlight == NoEvent || w.arrived || !w.up || w.s.to != w.life || !w.connected() {
		return false
	}
	w.arrived = true
	if !w.subscribed {
		return true
	}
	switch w.s.inFlight {
	case TaskOOM:
		w.received++
		require(w.received <= 1+b2i8(r.live && w.end == initOOM) || r.waited && w.life > 1, "a client received TaskOOM twice")
		w.received = min(w.received, 3)
	case TaskExit:
		w.exits++
		require(w.exits == 1, "a client received TaskExit twice")
		require(w.received > 0 || !w.end.oom() || w.excused, "TaskExit ahead of TaskOOM")
		w.see(r, w.s.trueOnly)
	case TaskDelete:
		require(w.exits == 1 || w.life > 1 || w.s.exitOver, "TaskDelete ahead of TaskExit")
	}
	return true
}

// ack is the end of the event under way: its ack, or the end of the connection.
func (w *world) ack(rules) bool {
	switch {
	case w.s.inFlight == NoEvent:
		return false
	case w.s.to != w.known():
		w.s.NotSent()
	case !w.up || !w.arrived:
		return false
	default:
		w.acked = w.acked || w.s.inFlight == TaskOOM
		w.s.Acked()
	}
	w.arrived, w.excused = false, false
	return true
}

// connect is the first call of an instance, and comes ahead of each Wait.
func (w *world) connect(rules) bool {
	known := w.connected()
	if w.s.Connected(w.life) {
		require(!known, "an instance starts twice")
		w.withdraw()
	}
	return w.up
}

// withdraw takes the event under way back that has not been sent.
func (w *world) withdraw() {
	if w.s.inFlight != NoEvent && !w.arrived {
		w.s.NotSent()
		w.excused = false
	}
}

// subscribe is CRI's first act, after containerd has loaded the shims. A Connect is
// answered when the checkpoint is written.
func (w *world) subscribe(r rules) bool {
	ok := w.up && !w.subscribed && w.connected() && (!r.dies || !w.busy && !w.s.Stale())
	w.subscribed = true
	return ok
}

func (w *world) die(r rules) bool {
	ok := w.up && w.life < r.instances
	w.up, w.subscribed, w.received, w.exits, w.deletes, w.arrived, w.late, w.recovered = false, false, 0, 0, false, false, false, false
	return ok
}

func (w *world) back(rules) bool {
	ok := !w.up
	w.up, w.made = true, 0
	w.life++
	return ok
}

// timeout is the start time of an instance, which every world has. A client that only
// subscribes has done so by then.
func (w *world) timeout(r rules) bool {
	ok := w.s.Starting(w.life) && (r.late || !r.waited) && (r.waited || w.subscribed)
	w.s.StartOver(w.life)
	return ok
}

var timeouts = []func(*world, rules) bool{
	func(w *world, r rules) bool {
		ok := w.s.exited && r.status && !w.deadline
		w.deadline = true
		w.s.StatusDeadline()
		return ok
	},
	func(w *world, r rules) bool {
		ok := w.s.exited && (w.deadline || !r.status)
		w.s.HoldExpired()
		w.expired, w.late = true, w.late || w.s.sinceBefore
		return ok
	},
	func(w *world, _ rules) bool {
		late := w.s.Late()
		require(late != w.life || w.s.delivered != w.life, "an instance is late that has the TaskOOM")
		w.s.Excuse(late)
		w.late = w.late || late == w.life
		return late != 0
	},
	func(w *world, _ rules) bool {
		w.s.Recovered(w.life - 1) // that timer comes late
		w.s.StartOver(w.life - 1)
		ok := w.up && w.s.recovering == w.life
		w.recovered = w.recovered || ok
		w.s.Recovered(w.life)
		return ok
	},
	func(w *world, r rules) bool {
		ok := w.s.visible && r.deletes
		w.s.ExitOver()
		return ok
	},
	func(w *world, r rules) bool { // the disk hangs, and is not waited for
		ok := w.busy && r.disk && !r.dies
		w.s.Checkpointed(w.writing)
		w.busy, w.writing = false, Record{}
		return ok
	},
}

// shimDies checks what the process that removes the container would do now.
func (w *world) shimDies(r rules) {
	if !w.up || !w.subscribed || w.end == open {
		return
	}
	record := w.disk
	if !record.Decided { // it decides by itself
		record.Decided, record.OOM = true, w.end.oom()
	}
	due := record.Due()
	require(!due || w.end.oom(), "TaskOOM of a dead shim for a container that was not OOM-killed")
	require(due || !w.end.oom() || w.received > 0, "a dead shim's TaskOOM is lost")
}
