package web

import (
	"net/http"
	"strings"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// HealthHandler answers /healthz and /readyz alone, for a listener that nothing else is
// asked at. health is asked at each request for /readyz, and must not block.
func HealthHandler(health func() events.Health) http.Handler {
	s := &server{Config: Config{Health: health}}
	return s.guard(s.health())
}

// health is what is asked by probes.
func (s *server) health() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("/readyz", s.ready)
	return mux
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.Health == nil {
		plain(w, http.StatusOK, "ok\n")
		return
	}
	h := s.Health()
	status, body := http.StatusOK, "ok\n"
	if !h.Ready {
		status, body = http.StatusServiceUnavailable, "not ready: "+h.Why+"\n"
	}
	for _, missing := range without(&h) {
		body += "without " + missing + "\n"
	}
	plain(w, status, body)
}

// without names what the agent goes without, with the reason.
func without(h *events.Health) (list []string) {
	for _, missing := range []struct{ what, why string }{
		{"journal", h.Journal}, {"names of cgroups", h.Tree}, {"names from containerd", h.Containerd},
		{"exits of the shims", h.Exits}, {"listener", h.Listeners},
	} {
		if missing.why != "" {
			list = append(list, missing.what+": "+strings.TrimSpace(missing.why))
		}
	}
	return list
}
