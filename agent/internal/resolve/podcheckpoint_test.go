package resolve

import (
	"testing"
	"testing/synctest"
	"time"
)

// A store names the pods that were removed while no agent ran, for ten minutes; the
// API server has the last word of those that are there.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := NewPodStore("node-a")
		static := mirrored(made("mirror", "c4"), "etcd", "hash")
		must(t, first.Replace([]any{made("stays", "c1"), made("goes", "c2"), made("went", "c3"), static}, ""))
		must(t, first.Delete(made("went", "c3")))
		went := time.Now()
		time.Sleep(time.Minute)

		s := NewPodStore("node-a")
		s.Restore(first.All())
		if pod, _, ok := byContainer(s, "c1"); !ok || pod.UID != "stays" {
			t.Error("before the API server has answered a pod is known")
		}
		if pod, _ := s.ByUID("went"); !pod.Finished {
			t.Error("a pod is there again")
		}
		var notified []KnownPod
		s.Notify(func(k KnownPod) { notified = append(notified, k) })
		must(t, s.Replace([]any{made("stays", "c1"), static, made("new", "c5")}, ""))
		if len(notified) != 2 || notified[0].UID != "new" || notified[1].UID != "goes" || !notified[1].Gone.Equal(time.Now()) {
			t.Errorf("notified of %+v", notified)
		}
		for id, uid := range map[string]string{"c2": "goes", "c3": "went"} {
			if pod, c, ok := byContainer(s, id); !ok || pod.UID != uid || pod.Name != "cart-"+uid || c.Name != "app" {
				t.Errorf("%s: %+v %+v", id, pod, c)
			}
		}
		if pod, ok := s.ByUID("hash"); !ok || pod.UID != "mirror" {
			t.Errorf("the static pod is %+v", pod)
		}
		for _, k := range s.All() {
			if k.UID == "went" && !k.Gone.Equal(went) {
				t.Errorf("gone at %s, not at %s", k.Gone, went)
			}
		}
		must(t, s.Update(made("stays", "c1")))
		if len(notified) != 2 {
			t.Error("notified of a pod that is as it was")
		}
		must(t, s.Update(made("stays", "c9")))
		must(t, s.Delete(made("stays", "c9")))
		if len(notified) != 4 || notified[2].Containers[0].IDs[0] != "c9" || notified[3].Gone.IsZero() {
			t.Errorf("notified of %+v", notified[2:])
		}
		must(t, s.Delete(static))
		time.Sleep(KeepPods - time.Minute)
		must(t, s.Update(made("new", "c5")))
		if _, ok := s.ByUID("went"); ok {
			t.Error("known ten minutes after its removal, in two lives")
		}
		if _, ok := s.ByUID("goes"); !ok {
			t.Error("forgotten before ten minutes")
		}

		for range 10 { // All is in no order
			again := NewPodStore("node-a")
			mirror := KnownPod{Pod: Pod{UID: "second", Static: true}, Hash: "hash"}
			again.Restore(append(s.All(), mirror))
			if pod, ok := again.ByUID("hash"); !ok || pod.UID != "second" {
				t.Errorf("the static pod is %+v, not the mirror that is there", pod)
			}
		}

		older, newer := notified[1], notified[3]
		older.Gone = newer.Gone.Add(-time.Minute)
		s = NewPodStore("node-a")
		s.Restore([]KnownPod{newer, older})
		must(t, s.Update(made("new", "c5")))
		if s.Len() != 2 {
			t.Errorf("%d pods: the first that was removed is forgotten first", s.Len())
		}
	})
}
