package service

import (
	"context"

	"carillon/api"
)

func (s *Service) wirePortal(_ context.Context, _ *api.Config) error { return nil }
