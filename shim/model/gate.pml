/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The exit barrier and the queue of events against containerd, in every
 * interleaving of: kill, exit, verdict, TaskOOM, its acknowledgement, the bound,
 * the four roads on which an exit can be seen, and containerd's death and return
 * at any moment. "make model" checks it with spin, exhaustively.
 *
 * Whenever a life of containerd sees the exit of an OOM, CRI of that life has
 * had the TaskOOM; or a bound had passed, and the TaskOOM is still on its way,
 * or the verdict itself is late. Whoever takes the TaskExit has taken the
 * TaskOOM before.
 *
 *   -DLATE        bounds may pass, at any moment
 *
 * Each of these takes a part out, and must fail:
 *   -DNO_BARRIER  an exit is shown as soon as it happens
 *   -DNO_AGAIN    a TaskOOM that one life took is not sent to the next
 *   -DTRUST_ACK   a TaskOOM taken before this life's CRI is known to listen
 *                 counts as heard
 *   -DSTALE       what a life has heard before the exit counts for the next one
 *   -DNO_ORDER    a TaskExit may overtake the TaskOOM once the bound has passed
 */
#ifndef LIVES
#define LIVES 2 /* of containerd */
#endif

/* The kernel and init. */
bool oom;   /* init is a victim */
bool named; /* the kernel has said so */
bool ended; /* init has been reaped */

/* The shim. */
bool early;      /* a hint has found that init is a victim, before it ended */
bool decided;    /* the verdict is known */
bool shown;      /* the exit may be seen */
bool bound;      /* the barrier's time is up */
bool queued;     /* a TaskOOM waits to be sent */
bool exit_taken; /* the TaskExit was taken by some life */
byte listens;    /* the newest life whose CRI is known to listen: it has asked */
byte taken_by;   /* the life that took the newest TaskOOM */
byte heard;      /* the newest life that is known to have heard the TaskOOM */

/* containerd. */
byte life = 1;
bool up = true;     /* it takes events */
bool cri = true;    /* CRI has subscribed; events that come before are forgotten */
bool known = false; /* CRI of this life has had the TaskOOM */

inline see(excused) {
	assert(!oom || known || (excused && (queued || !decided)))
}

/* TaskExit is a road for whoever subscribes to events: the life that takes it
 * has taken the TaskOOM before. (Who subscribes between the two gets one.) */
inline taken_in_order(excused) {
	assert(!oom || taken_by == life || (excused && !decided))
}

active proctype kernel() {
	if
	:: oom = true; named = true
	:: skip
	fi;
	ended = true
}

/* A hint that comes between the kill and the end has the TaskOOM published. */
active proctype hint() {
	if
	:: atomic { named && !ended -> early = true; queued = true }
	:: ended
	fi
}

/* The barrier: verdict, TaskOOM, acknowledgement, show. */
active proctype barrier() {
	ended;
#ifdef NO_BARRIER
	shown = true;
#endif
	atomic { decided = true;
		if
#ifdef STALE
		:: early
#else
		:: early && (queued || heard == life || (taken_by == life && listens != life)) /* it was published */
#endif
		:: else -> queued = oom
		fi };
	if
	:: !queued || bound
	fi;
	shown = true
}

/* Its bound may pass at any moment from the exit on. */
active proctype watchdog() {
	ended;
#ifdef LATE
	if
	:: atomic { bound = true; shown = true }
	:: skip
	fi
#endif
}

/* The queue: a TaskOOM ahead of the TaskExit, each until a life has taken it. A
 * send is two steps: containerd acts on it, and its answer arrives or is lost
 * with that life. */
active proctype queue() {
	byte to;
	bool listening;
end:	do
	:: atomic { queued && up -> to = life; listening = (listens == life);
		if
		:: cri -> known = true
		:: else
		fi };
		atomic {
			if
			:: up && life == to -> queued = false; taken_by = to;
#ifdef TRUST_ACK
				heard = to
#else
				if
				:: listening -> heard = to
				:: !listening && listens == to -> queued = true /* once more, for it */
				:: else
				fi
#endif
			:: else /* no answer: it is sent again */
			fi
		}
#ifdef NO_ORDER
	:: atomic { shown && !exit_taken && up -> exit_taken = true;
		taken_in_order(bound) }
#else
	:: atomic { shown && !queued && !exit_taken && up;
		if
#ifndef NO_AGAIN
		:: decided && oom && taken_by != life -> queued = true
		:: else
#else
		:: true
#endif
			-> exit_taken = true;
			taken_in_order(bound && !decided)
		fi }
#endif
	od
}

/* One of Wait, State and Delete, asked by CRI of the life that is now. A State that
 * says running has shown nothing: it is one that was not asked. */
proctype road(byte asker) {
	bool excused = false;
	atomic {
		if
		:: up && life == asker -> listens = asker
		:: else -> goto done
		fi
	}
	if
	:: shown
	:: !up || life != asker -> goto done
	fi;
	excused = bound;
	if
	:: decided
	:: !up || life != asker -> goto done
#ifdef LATE
	:: bound
#endif
	fi;
#ifndef NO_AGAIN
	do
	:: !decided || !oom || heard == asker -> break
	:: atomic { decided && oom && heard != asker && !queued -> queued = true }
	:: !up || life != asker -> goto done
#ifdef LATE
	:: queued -> excused = true; break /* the bound of this call */
#endif
	od;
#endif
	atomic {
		if
		:: up && life == asker -> see(excused)
		:: else
		fi
	}
done:	skip
}

/* containerd dies and comes back, CRI a while after it. */
active proctype containerd() {
	run road(1);
end:	do
	:: atomic { life < LIVES && up -> up = false; cri = false; known = false }
	:: atomic { !up -> life++; up = true }
	:: atomic { up && !cri -> cri = true; run road(life); run road(life) }
	od
}
