//go:build linux

package shim

import (
	"os"
	"strings"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc/status"

	"github.com/oomwitness/oomwitness/oom"
)

// runcComm is how the processes are named that runc becomes a container by: its init is
// runc:[2:INIT] until it runs the container's program (opencontainers/runc,
// libcontainer/nsenter/nsexec.c).
const runcComm = "runc:["

// bornDead returns the error of a Create or a Start that began at a time. If runc's init
// was OOM-killed meanwhile, the error says so: whose limit that was, and what had filled
// the memory. runc itself says no more than "container init was OOM-killed (memory limit
// too low?)", and often less. pid is init's, or 0 where nobody has one yet.
//
// A shim makes the containers of a pod at the same time: without a pid the newest of the
// kills may be another container's, whose Create has failed as well.
func (s *Service) bornDead(err error, pid int, began time.Time) error {
	killed, ok := s.lastKilled(pid, began)
	if !ok {
		return err
	}
	log.G(s.ctx).WithField("total", s.counts.add("init OOM-killed before its start")).
		Warnf("runc's init was OOM-killed before it ran the container's program: %s", killed)
	st := status.Convert(err)
	return status.Errorf(st.Code(), "%s: runc's init was OOM-killed before it ran the container's program: %s", st.Message(), killed)
}

// lastKilled returns the newest kill of a process of runc's which this shim has started.
func (s *Service) lastKilled(pid int, began time.Time) (last oom.Killed, ok bool) {
	for _, source := range s.sources {
		w, is := source.(oom.Witness)
		if !is {
			continue
		}
		all, err := w.KilledBelow(os.Getpid(), began)
		if err != nil {
			log.G(s.ctx).WithError(err).Debug("the ledger does not say why a container was not made")
			continue
		}
		for _, k := range all {
			if strings.HasPrefix(k.Comm, runcComm) && (pid == 0 || pid == k.PID) {
				last, ok = k, true
			}
		}
	}
	return last, ok
}
