package plugin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why"
)

func TestWorkloadOf(t *testing.T) {
	for _, tc := range []struct{ kind, owner, pod, want string }{
		{"ReplicaSet", "web-7d4b9c8f6", "web-7d4b9c8f6-x2x8v", "web"},
		{"StatefulSet", "db", "db-0", "db"},
		{"DaemonSet", "logs", "logs-x2x8v", "logs"},
		{"Job", "report-29384756", "report-29384756-x2x8v", "report"},
		{"Job", "import", "import-x2x8v", "import"},
		{"", "", "alone", "alone"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: tc.pod}}
		if tc.kind != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: tc.kind, Name: tc.owner, Controller: new(true)}}
		}
		require.Equal(t, tc.want, workloadOf(pod))
		require.Equal(t, tc.want, why.GuessWorkload(tc.pod), "of a pod that is gone")
	}
}

// TestByWorkload: the pods of one workload are added up, those that are gone among them.
func TestByWorkload(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	counts := []why.Count{
		{Namespace: "shop", Pod: "web-7d4b9c8f6-x2x8v", Container: "app", Ended: 2, OOM: 1, Kills: 3, Last: &late, Cause: "pod", Peak: new(uint64(1)), Limit: new(uint64(4))},
		{Namespace: "shop", Pod: "web-7d4b9c8f6-zzzzz", Container: "app", Ended: 5, OOM: 2, Kills: 1, Last: &early, Cause: "node", Peak: new(uint64(3)), Limit: new(uint64(8))},
		{Namespace: "shop", Pod: "named-by-hand", Container: "app", OOM: 9},
	}
	rows := byWorkload(counts, map[[2]string]string{{"shop", "named-by-hand"}: "db"})
	require.Len(t, rows, 2)
	require.Equal(t, "db", rows[0].Workload)
	web := rows[1]
	require.Equal(t, 2, web.Pods)
	require.Equal(t, []int{7, 3, 4}, []int{web.Ended, web.OOM, web.Kills})
	require.Equal(t, "pod", web.Cause, "of the newest kill")
	require.EqualValues(t, 3, *web.Peak)
	require.EqualValues(t, 8, *web.Limit)
}

// TestDecode refuses what is no agent's answer.
func TestDecode(t *testing.T) {
	var status why.Status
	for body, want := range map[string]string{
		"<html>": "not the JSON", `{"schema":2}`: "schema 2: allowed is 1", `{"schema":1,"tier":7}`: "not the JSON",
	} {
		require.ErrorContains(t, decode([]byte(body), &status), want)
	}
	require.NoError(t, decode([]byte(`{"schema":1,"tier":"A"}`), &status))
	require.Equal(t, "A", status.Tier)
}

// TestStates: a node without an agent is there, and an agent that answers goes before one
// that does not.
func TestStates(t *testing.T) {
	agent := func(node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "o", Name: "a"}, Spec: corev1.PodSpec{NodeName: node}}
	}
	states := statesOf([]corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}}, []answer[why.Status]{
		{agent: agent("full"), value: why.Status{Ready: true, Tier: "A"}},
		{agent: agent("full"), err: errNoAgent},
		{agent: agent(""), err: errNoAgent},
	})
	require.Len(t, states, 2)
	require.Equal(t, nodeState{Node: "bare", Why: "no agent runs there"}, states[0])
	require.True(t, states[1].Ready)
}
