//go:build linux

package faults

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// upgradedFrom is the version before the upgrade if the environment names none.
const upgradedFrom = "2.3"

// TestContainerdUpgraded stops containerd as a package's upgrade does, installs the newest
// version and starts it, while containers run and end. Then each pod gets a new container. The
// environment variable CONTAINERD names the version before the upgrade.
func TestContainerdUpgraded(t *testing.T) {
	n := setUp(t)
	from := cmp.Or(os.Getenv(faultkit.VersionEnv), upgradedFrom)
	t.Run("from-"+from, func(t *testing.T) { n.replaced(t, from, faultkit.Newest) })
}

// TestContainerdDowngraded goes the other way, to the version in the environment variable
// CONTAINERD.
func TestContainerdDowngraded(t *testing.T) {
	if os.Getenv(faultkit.VersionEnv) == "" {
		t.Skipf("needs the environment variable %s, such as 2.2: make compat", faultkit.VersionEnv)
	}
	n := setUp(t)
	n.replaced(t, faultkit.Newest, faultkit.Version())
}

// replaced replaces one containerd by another. The configuration is that of the older one: such
// a node relies on the newer one to read that too.
func (n *node) replaced(t *testing.T, from, to string) {
	t.Helper()
	if from == to {
		t.Skipf("needs an older containerd than %s in the environment variable %s", to, faultkit.VersionEnv)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, faultkit.SwitchContainerd(ctx, faultkit.Version()))
		require.NoError(t, n.ready(ctx))
	})
	n.runFault(t, fault{
		Fault: faultkit.Fault{
			Label: fmt.Sprintf("containerd-replaced from=%s to=%s", from, to),
			Strike: func(ctx context.Context) error {
				err := faultkit.Run(ctx, "node-containerd", "stop")
				n.Gone()
				return err
			},
			Lasts: n.Lead,
			Heal: func(ctx context.Context) error {
				if err := faultkit.PutContainerd(to); err != nil {
					return err
				}
				return faultkit.Run(ctx, "node-containerd", "start")
			},
		},
		before: func(ctx context.Context) error { return faultkit.SwitchContainerd(ctx, from) },
		joined: true,
	})
}

// join starts a container in each of the fleet's pods, and has it OOM-killed. The pods are
// older than the running containerd.
func (fl *fleet) join(ctx context.Context) error {
	for i, pod := range fl.sandboxes {
		name := fmt.Sprintf("joined%04d", serial.Add(1))
		m, err := fl.n.newMember(ctx, pod, faultkit.KindOOM, name)
		if err != nil {
			return fmt.Errorf("join pod %d: %w", i, err)
		}
		m.Name, m.pod = "joined", pod.ID
		fl.members = append(fl.members, m)
		fl.wg.Go(func() { m.waitEnd() })
		look := fl.lookFor(ctx, []*member{m})
		if err := fl.fire(ctx, m); err != nil {
			return err
		}
		<-look
	}
	return nil
}
