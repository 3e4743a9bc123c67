//go:build linux

package delivery

import (
	"context"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/typeurl/v2"
)

// NewEnvelope encodes an event with the time of the call: a containerd that is away
// may get it much later. ctx carries the namespace.
func NewEnvelope(ctx context.Context, topic string, event events.Event) (*types.Envelope, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	body, err := typeurl.MarshalAnyToProto(event)
	if err != nil {
		return nil, err
	}
	return &types.Envelope{Timestamp: protobuf.ToTimestamp(time.Now()), Namespace: ns, Topic: topic, Event: body}, nil
}
