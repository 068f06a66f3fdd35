"""What a run says about itself: pictures, tables and the report of a run folder."""
