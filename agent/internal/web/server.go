// Package web is what the agent serves: the node's OOM history for people and for
// programs, the metrics, and whether the agent is well.
//
// There is no login. So it is read-only, it listens on loopback unless configured
// otherwise, and without Config.All it shows of a node's own nothing but numbers:
// see Event.
package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
)

// Config of a Handler.
type Config struct {
	// Node is its name, Version the agent's.
	Node, Version string
	// Page serves "/" and "/api/"; History and Health are needed for that.
	Page    bool
	History *History
	// Exits returns the ends of containers that are kept; nil for none.
	Exits func() []exits.Exit
	// ExitsMissing returns the time of the newest exit that had to make room, zero for none.
	ExitsMissing func() time.Time
	// Health is asked at each request, and must not block.
	Health func() events.Health
	// Metrics serves /metrics; nil for none.
	Metrics http.Handler
	// All shows also what is the node's own.
	All bool
	// Loopback says that the listener is bound there: only names of this machine
	// are then answered to, so that no web page can reach it by a name of its own.
	Loopback bool
	// Refresh is how often the page refreshes by itself, DefaultRefresh if 0. A second is
	// the least.
	Refresh time.Duration
}

// DefaultRefresh is how often the page refreshes by itself.
const DefaultRefresh = 10 * time.Second

// Limits of one answer.
const (
	pageLimit, maxPageLimit = 50, 200
	apiLimit, maxAPILimit   = 100, 500
)

type server struct {
	Config
	slots slots
}

// Handler answers GET and HEAD, and nothing else.
func Handler(c Config) http.Handler {
	c.Refresh = cmp.Or(c.Refresh, DefaultRefresh)
	s := &server{Config: c}
	mux := s.health()
	if c.Metrics != nil {
		mux.Handle("/metrics", s.rendered(func(b *body, r *http.Request) { c.Metrics.ServeHTTP(b, r) }))
	}
	if c.Page {
		mux.HandleFunc("/{$}", s.rendered(s.page))
		mux.HandleFunc("/page.css", asset("page.css", "text/css; charset=utf-8"))
		mux.HandleFunc("/page.js", asset("page.js", "text/javascript; charset=utf-8"))
		mux.HandleFunc("/api/v1/events", s.rendered(s.events))
		mux.HandleFunc(why.PathWhy, s.rendered(s.why))
		mux.HandleFunc(why.PathTop, s.rendered(s.top))
		mux.HandleFunc(why.PathStatus, s.rendered(s.status))
	}
	return s.guard(mux)
}

// guard is what every request passes.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			plain(w, http.StatusMethodNotAllowed, "only GET and HEAD\n")
		case s.Loopback && !localName(r.Host):
			plain(w, http.StatusForbidden, "this listens on loopback: ask for localhost or 127.0.0.1\n")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// localName reports whether a Host header names this machine.
func localName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']' {
		name = name[1 : len(name)-1]
	}
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *server) page(b *body, r *http.Request) {
	now := time.Now()
	q, err := parseQuery(r.URL.RawQuery, now, pageLimit, maxPageLimit)
	if err != nil {
		show(b, http.StatusBadRequest, "wrong", wrongView{Node: s.Node, Lines: lines(err)})
		return
	}
	found := q.run(s.History.Newest(), s.All)
	if found.gone {
		show(b, http.StatusGone, "wrong", wrongView{Node: s.Node, Lines: []string{errGone.Error()}})
		return
	}
	show(b, http.StatusOK, "page", newView(&s.Config, &q, found, s.ended(), now))
}

// ended returns the ends of containers that are kept.
func (s *server) ended() []exits.Exit {
	if s.Exits == nil {
		return nil
	}
	return s.Exits()
}

// show makes a page of a template.
func show(b *body, status int, name string, data any) {
	b.Header().Set("Content-Type", "text/html; charset=utf-8")
	b.WriteHeader(status)
	b.fail(templates.ExecuteTemplate(b, name, data))
}

// Answer is the body of /api/v1/events. Its JSON form is stable: fields are added,
// never changed.
type Answer struct {
	Schema int       `json:"schema"`
	Node   string    `json:"node"`
	Time   time.Time `json:"time"` // of the answer
	// All says that what is the node's own is part of it.
	All bool `json:"all"`
	// Tier of the ledger that is in force, "" for none: kills are not seen then.
	Tier string `json:"tier"`
	// Lost are victims that the ledger counted and has no record of, so that they
	// are in no event.
	Lost uint64 `json:"lost"`
	// Kept are the events of the history, Dropped those that made room for them.
	// CompleteSince is the time since which no event is known to be missing, null where that
	// is not known.
	Kept          int        `json:"kept"`
	Dropped       uint64     `json:"dropped"`
	CompleteSince *time.Time `json:"complete_since"`
	// Matched are those that the query asks for; Events one page of them, newest
	// first. Next is the value of before for the next page, "" at the end.
	Matched int     `json:"matched"`
	Events  []Event `json:"events"`
	Next    string  `json:"next"`
}

// Schema is the version of Answer.
const Schema = 1

var errGone = errors.New("before: no such event is kept; begin again without it")

func (s *server) events(b *body, r *http.Request) {
	now := time.Now()
	q, err := parseQuery(r.URL.RawQuery, now, apiLimit, maxAPILimit)
	if err != nil {
		refuse(b, http.StatusBadRequest, lines(err))
		return
	}
	found := q.run(s.History.Newest(), s.All)
	if found.gone {
		refuse(b, http.StatusGone, []string{errGone.Error()})
		return
	}
	h, x := s.Health(), s.History.Extent()
	answer := Answer{
		Schema: Schema, Node: s.Node, Time: now.UTC().Truncate(time.Millisecond), All: s.All, Tier: h.Tier, Lost: h.Lost,
		Kept: x.Events, Dropped: x.Dropped, CompleteSince: known(x.Complete), Matched: len(found.matched), Events: found.events, Next: found.next,
	}
	if answer.Events == nil {
		answer.Events = []Event{}
	}
	asJSON(b, http.StatusOK, answer)
}

func refuse(b *body, status int, wrong []string) {
	asJSON(b, status, struct {
		Errors []string `json:"errors"`
	}{wrong})
}

func asJSON(b *body, status int, answer any) {
	b.Header().Set("Content-Type", "application/json")
	b.WriteHeader(status)
	b.fail(json.NewEncoder(b).Encode(answer))
}

// lines are the errors of a joined one.
func lines(err error) (list []string) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, one := range joined.Unwrap() {
			list = append(list, one.Error())
		}
		return list
	}
	return []string{err.Error()}
}

func plain(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client is gone, then
}

// IsLoopback reports whether a listener's address can be reached from this machine alone.
func IsLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
