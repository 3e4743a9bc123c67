package exit

// The world of the explorer: a State, and all that it deals with.

// ending is how the container ends. The kernel chooses.
type ending uint8

const (
	open     ending = iota // the container runs
	clean                  // no OOM kill
	survived               // an OOM kill, and then an exit for another reason
	childOOM               // an OOM kill of a child, and an exit due to it
	initOOM                // init is the victim
)

// oom reports whether the verdict is OOM.
func (e ending) oom() bool { return e >= childOOM }

// call is one of State, Wait and Delete under way.
type call struct {
	by   Instance
	kind Call
	// excused says that something had taken too long by the time of the answer.
	answered, excused, trueOnly bool
}

// rules say what can happen in a world.
type rules struct {
	instances Instance // how many processes containerd has, one after the other
	calls     int      // at a time
	each      uint8    // calls of one instance
	late      bool     // timeouts pass
	disk      bool     // the writing of a checkpoint takes time, and so does the publication of TaskExit
	waited    bool     // CRI waits; else the client is one that may only subscribe
	live      bool     // report: live
	status    bool     // the pod has chosen an exit status for an OOM
	deletes   bool     // containers are deleted, and their tombstones asked for
	dies      bool     // the shim dies
}

// world is comparable: two equal worlds go on alike.
type world struct {
	s State

	end          ending
	killed       bool // the kernel has counted a kill
	early, lives bool // the early TaskOOM, and the live one, have been published

	disk    Record // what the checkpoint in the bundle says
	writing Record // what is being written, while busy
	busy    bool

	life       Instance
	up         bool // the events endpoint takes events
	subscribed bool // a client has subscribed
	received   uint8
	exits      uint8 // TaskExits that the client has received

	acked   bool // a TaskOOM was
	arrived bool // the event under way has come to containerd
	excused bool // it was handed over after a time had passed

	calls [2]call
	made  uint8

	deadline  bool // the status deadline has passed
	expired   bool // so has the hold timeout
	late      bool // and one for the instance that is there
	recovered bool // so has the time in which that recovers containers, or a Wait was answered
	shown     [2]bool
	remover   Instance // whose Delete runc carries out
	deletes   bool     // this instance has asked for a Delete
}

func first(r rules) world {
	return world{s: New(1, r.waited), life: 1, up: true, subscribed: true}
}

// wrong is what the explorer has found.
type wrong struct{ what string }

func require(ok bool, what string) {
	if !ok {
		panic(wrong{what})
	}
}

// connected reports whether the instance that is there has loaded the shim.
func (w *world) connected() bool { return w.life == 1 || w.s.connected == w.life }

// known returns the instance that the shim takes for the current one. A new instance
// shows itself by its Connect, since its endpoint does not listen before.
func (w *world) known() Instance {
	if w.connected() {
		return w.life
	}
	return w.life - 1
}

// excuse reports whether there is an excuse for an exit without its TaskOOM.
func (w *world) excuse() bool { return w.expired && !w.s.decided || w.s.excused == w.life && w.late }

// see checks what is seen of an exit, and that all sights agree on the status.
func (w *world) see(r rules, trueOnly bool) {
	if !r.status || !w.end.oom() {
		return
	}
	w.shown[b2i(trueOnly)] = true
	require(!w.shown[0] || !w.shown[1], "two exit statuses were reported")
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// normal returns the world without what makes no difference any more: fewer worlds
// say the same.
func (w world) normal(r rules) world {
	s := &w.s
	s.loading = false
	newest := max(s.asked, s.connected)
	forget := func(i *Instance, before Instance) {
		if *i < before {
			*i = 0
		}
	}
	forget(&s.acked, newest)
	forget(&s.delivered, newest)
	forget(&s.excused, s.asked)
	w.acked = w.acked || s.visible
	if s.decided {
		w.early, w.lives, w.killed, s.announced = true, true, false, 0
	}
	if !r.dies {
		w.disk = Record{}
	}
	if !r.status {
		s.trueOnly, s.saved.TrueOnly, w.disk.TrueOnly, w.writing.TrueOnly = false, false, false, false
	}
	for i := range w.calls {
		w.calls[i].trueOnly = w.calls[i].trueOnly && r.status
	}
	if less(w.calls[0], w.calls[1]) {
		w.calls[0], w.calls[1] = w.calls[1], w.calls[0]
	}
	return w
}

// less orders calls, whose places make no difference.
func less(a, b call) bool {
	key := func(c call) int {
		return int(c.by)<<8 | int(c.kind)<<3 | b2i(c.answered)<<2 | b2i(c.excused)<<1 | b2i(c.trueOnly)
	}
	return key(a) < key(b)
}

func b2i8(b bool) uint8 { return uint8(b2i(b)) }
