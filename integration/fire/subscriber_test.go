//go:build linux

package fire

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestSubscriberOnly has init killed while containerd is away. Nobody asks the next containerd
// for the task: the clients of Docker and of "ctr events" subscribe again within seconds, and
// wait for events. TaskOOM and TaskExit are held for the hold timeout, and then sent once. A
// TaskOOM that was acked before the Connect is sent once more: the endpoint of this test
// accepts events before the Connect, and containerd does not.
func TestSubscriberOnly(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol func(*shimtest.Config)) {
		n := node(t, "hold_timeout = '1s'\n", protocol)
		c := n.Run("c", shimtest.Args("hog", "16"))
		require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
		event(t, n, startTopic, c.ID)
		die(t, n, c)
		killInit(t, n, c)
		require.NoError(t, c.Shim.WaitLog(deadline(t), "containerd did not ack an event"))
		before := back(t, n, c)
		event(t, n, exitTopic, c.ID)
		all := topics(n.Events.All()[before:], c.ID)
		if all[0] == startTopic { // the ack of TaskStart was lost with the connection
			all = all[1:]
		}
		require.Contains(t, [][]string{{oomTopic, exitTopic}, {oomTopic, oomTopic, exitTopic}}, all)
		exit := slices.IndexFunc(n.Events.All(), isExit)
		again := n.Events.All()[exit-1]
		require.True(t, again.Accepted.Before(n.Events.All()[exit].Received))
		end(t, c)
	})
}
