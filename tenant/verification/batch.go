package verification

import (
	"context"
	"sync"

	"carillon/authz"
	"carillon/tenant"
)

// MaxBatch is how many codes one request may ask for (verification protocol §4.4).
const MaxBatch = 10

// Result is what became of one element of a batch: a code, or why there is none,
// as [Service.Issue] answers.
type Result struct {
	Issued *Issued
	Err    error
}

// CheckBatch decides whether a subject may issue codes in batches at all:
// [authz.ErrForbidden] if its policy does not allow it, [ErrMaintenance] (§0.4), and
// [ErrBatchDisabled] if the tenant has not turned batches on. It needs nothing of the request, so that a
// surface can ask before it reads one.
func (s *Service) CheckBatch(ctx context.Context, t *tenant.Tenant, by authz.Subject) error {
	for _, a := range []authz.Action{authz.CodeBulkIssue, authz.CodeIssue} {
		if err := s.policies.Check(ctx, t.ID.String(), by, a); err != nil {
			return err
		}
	}
	if t.ClosedForIssue() {
		return inMaintenance()
	}
	if !t.Settings.BatchIssue {
		return refuse(ErrBatchDisabled, "bulk issuing is not enabled on this realm")
	}
	return nil
}

// IssueBatch issues codes in the order of the requests, each for itself: some may
// fail where others succeed, and the results are in the requests' order
// (verification protocol §4.4). An error means that none was issued: as for
// [Service.CheckBatch], or [ErrBatchSize] for more than [MaxBatch].
//
// Messages go out side by side once all codes are committed. A code whose message
// fails is withdrawn as in [Service.Issue], and the others stay.
func (s *Service) IssueBatch(ctx context.Context, t *tenant.Tenant, by authz.Subject, requests []IssueRequest) ([]Result, error) {
	if err := s.CheckBatch(ctx, t, by); err != nil {
		return nil, err
	}
	if len(requests) > MaxBatch {
		return nil, refuse(ErrBatchSize, "batch size limit [%d] exceeded", MaxBatch)
	}
	results := make([]Result, len(requests))
	stored := make([]*placed, len(requests))
	for i, r := range requests {
		stored[i], results[i].Err = s.place(ctx, t, by, r)
	}
	var deliveries sync.WaitGroup
	for i, p := range stored {
		if p == nil {
			continue
		}
		deliveries.Go(func() { results[i].Issued, results[i].Err = s.deliver(ctx, p) })
	}
	deliveries.Wait()
	return results, nil
}
