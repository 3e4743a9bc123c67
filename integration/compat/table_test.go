package compat

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	var table Table
	require.NoError(t, table.Read(strings.NewReader(`
row=mix containerd=2.2.9 cgroup=v2 driver=systemd shim=stock cases=9 n=9 ooms=4 oom_lost_or_late=1 false_oom=2 exit_lost=0 twice=0 wrong_id=0 wrong_status=0 failed=0
row=mix containerd=2.2.9 cgroup=v2 driver=systemd shim=oomwitness cases=9 n=8 ooms=4 oom_lost_or_late=1 false_oom=0 exit_lost=0 twice=0 wrong_id=0 wrong_status=0 failed=1
fault=shim-killed by=oom containerd-restarted=true containerd=2.2.9 cgroup=v2 driver=systemd shim=oomwitness kind=oom n=3 right=3 wrong=0
fault=shim-killed by=signal containerd-restarted=true containerd=2.2.9 cgroup=v2 driver=systemd shim=oomwitness kind=oom n=3 right=2 wrong=1
fault=containerd-replaced from=2.4 to=2.2 containerd=2.2.9 cgroup=v2 driver=systemd shim=oomwitness kind=oom n=2 right=2
fault=containerd-replaced from=1.7 to=2.4 containerd=1.7.35 cgroup=v1 driver=cgroupfs shim=oomwitness kind=oom n=2 right=2
mix driver=systemd n=54 wrong=0 gone=0
`)))
	var out strings.Builder
	require.NoError(t, table.Write(&out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, "| 1.7.35 | v1 | cgroupfs | | | | | | | | 2 of 2 | | |", lines[2])
	require.Equal(t, "| 2.2.9 | v2 | systemd | **7 of 9** | | | | | **5 of 6** | | | 2 of 2 | |", lines[3])
}

func TestTableRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"no n":     "row=mix containerd=2.2.9 shim=oomwitness n=many",
		"no wrong": "row=dead-shim containerd=2.2.9 shim=oomwitness n=3",
		"right":    "fault=shim-killed containerd=2.2.9 shim=oomwitness n=3 right=x",
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, new(Table).Read(strings.NewReader(line)))
		})
	}
}
