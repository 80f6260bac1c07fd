-- Most codes are claimed, and most tokens used, once and soon. A page with room for the new
-- version of a row takes it without touching the indexes; without room, every index gets
-- another entry. Pages that exist are filled as they are and emptied by retention.

-- +goose Up
alter table verification_code  set (fillfactor = 60);
alter table verification_token set (fillfactor = 60);

-- +goose Down
alter table verification_token reset (fillfactor);
alter table verification_code  reset (fillfactor);
