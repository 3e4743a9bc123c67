// Package exit holds the life of one container's exit as a pure state machine:
// [State]. Every input is a method. A State has no lock, clock or I/O, so a test can
// take it through every order of events.
//
// containerd learns of the exit of init by four API paths: Wait, State, TaskExit
// and Delete. State holds the exit until the verdict is known, the checkpoint is
// written and, where the verdict is OOM, the TaskOOM is acked. Each call that may
// show the exit asks [State.Answer], and each event that may go to containerd comes
// from [State.Next].
//
// containerd acks an event when it has queued the event. CRI gets the event only if
// CRI had subscribed by then. A containerd that starts does this, in this order
// (containerd 2.4, core/runtime/v2/shim_load.go, internal/cri/server/service.go and
// restart.go):
//
//  1. It connects to each shim ([State.Connected]).
//  2. CRI subscribes, and the events endpoint begins to listen, in any order.
//  3. CRI asks each task for its State ([State.Asked]).
//
// So an instance that has asked is subscribed, and nothing is known of an instance
// that has not. A client other than CRI may subscribe and never ask, as dockerd does:
// such a client is taken for subscribed when the start time of its containerd has
// passed ([State.StartOver]).
package exit
