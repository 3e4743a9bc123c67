package cri

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Ends streams the runtime's status of each container at the first moment at which the runtime
// calls the container exited: nobody can see the status earlier. The channel is closed when the
// stream ends, at the latest with ctx.
func (c *Client) Ends(ctx context.Context) (<-chan End, error) {
	stream, err := c.runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return nil, fmt.Errorf("container events: %w", err)
	}
	ends := make(chan End)
	go func() {
		defer close(ends)
		for {
			event, err := stream.Recv()
			if err != nil {
				return
			}
			end, ok := endOf(event)
			if !ok {
				continue
			}
			select {
			case ends <- end:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ends, nil
}

// End is a container that the runtime calls exited.
type End struct {
	ID string
	Status
}

func endOf(event *runtimeapi.ContainerEventResponse) (End, bool) {
	if event.ContainerEventType != runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
		return End{}, false
	}
	for _, s := range event.ContainersStatuses {
		if s.Id == event.ContainerId {
			return End{s.Id, Status{Code: s.ExitCode, Reason: s.Reason, Finished: time.Unix(0, s.FinishedAt)}}, true
		}
	}
	return End{}, false // the end of a pod's sandbox
}
