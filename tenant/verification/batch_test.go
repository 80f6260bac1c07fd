package verification_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/verification"
)

func batching(t *tenant.Tenant) *tenant.Tenant {
	return with(t, func(s *tenant.Settings) { s.BatchIssue = true })
}

// Each element stands for itself, and the results are in the requests' order.
func TestBatchKeepsOrderAndIsNotAtomic(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const id = "0d6e8b3a-5f6a-4a39-8f28-0a2b90d0c001"
	results, err := f.issuer.IssueBatch(t.Context(), batching(f.north), backEnd, []verification.IssueRequest{
		{TestType: "confirmed", UUID: id},
		{TestType: "nonsense"},
		{TestType: "likely", UUID: id},
		{TestType: "User-Report", Phone: phone},
		{TestType: "negative", Phone: "nonsense"},
		{TestType: "likely"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []error{nil, verification.ErrInvalidTestType, verification.ErrUUIDExists, nil, verification.ErrPhoneInvalid, nil}
	for i, r := range results {
		if !errors.Is(r.Err, want[i]) || (r.Issued == nil) != (want[i] != nil) {
			t.Errorf("element %d: %v, want %v", i, r.Err, want[i])
		}
		if r.Issued != nil {
			f.verify(t, f.north, r.Issued.Code)
		}
	}
	if results[0].Issued.ID.String() != id {
		t.Errorf("the first code is %v", results[0].Issued.ID)
	}
	if sent := f.sms.Delivered(); len(sent) != 1 || sent[0].To != phone {
		t.Errorf("%d messages, want the one of the fourth", len(sent))
	}
}

func TestBatchRefusesAsAWhole(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ones := func(n int) []verification.IssueRequest {
		list := make([]verification.IssueRequest, n)
		for i := range list {
			list[i].TestType = "confirmed"
		}
		return list
	}
	for name, c := range map[string]struct {
		to       *tenant.Tenant
		by       authz.Subject
		requests []verification.IssueRequest
		want     error
		text     string
	}{
		"not allowed": {batching(f.north), stranger, ones(1), authz.ErrForbidden, ""},
		"turned off":  {f.north, backEnd, ones(1), verification.ErrBatchDisabled, "bulk issuing is not enabled on this realm"},
		"too many":    {batching(f.north), backEnd, ones(verification.MaxBatch + 1), verification.ErrBatchSize, "batch size limit [10] exceeded"},
	} {
		results, err := f.issuer.IssueBatch(t.Context(), c.to, c.by, c.requests)
		if !errors.Is(err, c.want) || results != nil {
			t.Errorf("%s: %d results, %v", name, len(results), err)
		}
		if c.text != "" {
			wantProblem(t, err, c.want, c.text)
		}
	}
	if n := f.countCodes(t, f.north); n != 0 {
		t.Errorf("%d codes stored", n)
	}
	full, err := f.issuer.IssueBatch(t.Context(), batching(f.north), backEnd, ones(verification.MaxBatch))
	if err != nil || len(full) != verification.MaxBatch {
		t.Errorf("a full batch: %d results, %v", len(full), err)
	}
	if none, err := f.issuer.IssueBatch(t.Context(), batching(f.north), backEnd, nil); err != nil || len(none) != 0 {
		t.Errorf("an empty batch: %d results, %v", len(none), err)
	}
}

// A sender that waits for all messages of the batch at once would starve if they
// went out one after the other, or before the last code is stored.
func TestBatchSendsInParallelAfterStoring(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const codes = 4
	var together sync.WaitGroup
	together.Add(codes)
	meet := senderFunc(func(ctx context.Context, _ *tenant.Tenant, _ message.Message) error {
		together.Done()
		met := make(chan struct{})
		go func() { together.Wait(); close(met) }()
		select {
		case <-met:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	service := f.service(f.world.Issuer, func(c *verification.Config) { c.Sender = meet })
	requests := make([]verification.IssueRequest, codes)
	for i := range requests {
		requests[i] = verification.IssueRequest{TestType: "confirmed", Phone: phone}
	}
	results, err := service.IssueBatch(t.Context(), batching(f.north), backEnd, requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Errorf("element %d: %v", i, r.Err)
		}
	}
}

// A message that fails takes its own code with it and no other.
func TestBatchWithdrawsWhatWasNotSent(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sms.Break(messagetest.Failed)
	results, err := f.issuer.IssueBatch(t.Context(), batching(f.north), backEnd, []verification.IssueRequest{
		{TestType: "confirmed", Phone: phone}, {TestType: "confirmed"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(results[0].Err, verification.ErrSMSFailed) || results[0].Issued != nil || results[1].Err != nil {
		t.Errorf("results: %v, %v", results[0].Err, results[1].Err)
	}
	if n := f.countCodes(t, f.north); n != 1 {
		t.Errorf("%d codes stored, want 1", n)
	}
}
