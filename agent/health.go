package agent

import (
	"context"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/store"
)

// journalAgain is how often a journal that can't be written is tried.
const journalAgain = 5 * time.Second

// health is how the agent is at the moment.
func (p *pipeline) health() events.Health {
	p.mu.Lock()
	collector, j, watcher, names, roots := p.collector, p.journal, p.watcher, p.names, p.roots
	p.mu.Unlock()
	if collector == nil {
		return events.Health{Why: "starting"}
	}
	h := collector.Health()
	h.Open, h.Roots = j.OpenCount(), roots
	h.Cgroups, h.Watched = watcher.Size()
	h.Skipped = watcher.Skipped()
	h.Journal, h.Tree, h.Containerd = textOf(j.Err()), textOf(watcher.Err()), textOf(names.Err())
	return h
}

// follow has the journal written again that could not be, and says when it could not
// and when it is, until ctx ends.
func (p *pipeline) follow(ctx context.Context, j *store.Journal) {
	tick := time.NewTicker(journalAgain)
	defer tick.Stop()
	for failed := j.Err() != nil; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		between := j.Err() != nil // since the last try: whoever wrote has said so
		err := j.Retry()
		switch {
		case err == nil && (failed || between):
			p.c.log.Info("the journal is written again")
		case err != nil && !failed:
			p.c.log.WithError(err).Error("the agent goes on without its journal, and tries again: kills may be counted and reported again after a restart")
		}
		failed = err != nil
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return events.Clean(err.Error())
}
