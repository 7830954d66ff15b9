"""ScheduleService: pipeline runs that start by the clock.

What a cron line means is `cron`, what a schedule may say `rules`, when a run starts `timetable`, the RPCs `service`.
"""
